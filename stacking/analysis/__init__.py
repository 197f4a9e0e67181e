"""What is found out about a stack: shift, residuals, calibration, label issues."""
