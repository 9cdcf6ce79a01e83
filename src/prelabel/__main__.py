"""`python -m prelabel` is the `prelabel` command."""

from prelabel.cli import main

if __name__ == "__main__":
    main()
