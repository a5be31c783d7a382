"""Synthetic speech for training: what is said, in which voices, and the folder of clips.

Tests never hear it: they are real recordings. It is made where it is used and not redistributed.
"""
