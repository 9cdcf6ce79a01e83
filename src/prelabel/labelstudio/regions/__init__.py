"""Result JSON: the only room that knows percent, and the only one that writes or reads regions."""
