"""Everything that is done offline: the command line, audio, models, calibration and reports."""
