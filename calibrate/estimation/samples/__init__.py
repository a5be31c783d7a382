"""What a calibration listens to: the shipped scenes, a manifest, or an audio folder."""
