"""What a profile is worth on samples that took no part in any choice, and how stable it is."""
