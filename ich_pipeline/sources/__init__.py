"""Where files come from: folders, archives inside them, DICOMDIR and S3, all as one listing of names and local bytes."""
