"""What releases cost: budget, ledger, accountant, calibration."""
