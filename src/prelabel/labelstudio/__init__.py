"""What Label Studio says, and what it is told. No input or output happens here."""
