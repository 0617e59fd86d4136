"""DICOM in: headers, account of every file, series choice, geometry, Hounsfield units, volumes."""
