"""How a stage runs and shows itself: plainly, under DVC, under Prefect. Nothing here decides what a stage writes."""
