"""What attacks and evaluation share: tables side by side, their rows as arrays, distances, features, intervals."""
