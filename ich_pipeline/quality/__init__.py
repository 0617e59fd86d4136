"""Data quality: Great Expectations suites over series, slices, labels and cohorts, and the page that shows them.

``suites`` and ``cohort_suites`` say what is expected, ``runner`` lets Great Expectations judge it, ``page`` and ``console``
show the verdict. The other modules use no Great Expectations, so importing this package costs nothing.
"""
