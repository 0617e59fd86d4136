"""What goes with a model: its cards as RSNA ATLAS JSON, a change control plan, reporting checklists, a bill of materials."""
