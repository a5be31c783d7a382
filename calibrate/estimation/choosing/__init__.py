"""The choices of a calibration, each made by cross-validation."""
