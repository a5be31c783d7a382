"""From samples to a profile: ablation, fitting, choices, and the report that judges it."""
