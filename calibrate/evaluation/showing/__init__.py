"""Results for people: tables, plots, the page, and what an outside judge needs."""
