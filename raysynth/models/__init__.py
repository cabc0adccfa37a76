"""Networks and their losses: pure torch, no Ray, no pandas, no files."""
