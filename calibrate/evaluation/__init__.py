"""Evaluation: what is asked, how answers are read and scored, and what differs for certain."""
