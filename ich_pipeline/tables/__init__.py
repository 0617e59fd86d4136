"""The tables a person brings or reads, and the names that stand in them."""
