"""What the methods for sequences share."""
