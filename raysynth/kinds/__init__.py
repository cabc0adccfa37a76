"""What a column can hold: a file or folder for each kind, and what they share."""
