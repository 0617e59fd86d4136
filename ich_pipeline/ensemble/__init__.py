"""Four networks become one reader: SI degree, combiner, calibration, operating points, iterative reading.

Everything here is fitted on the validation cohort alone (:mod:`ich_pipeline.ensemble.fit`) and then frozen in
``ensemble.json`` (:mod:`ich_pipeline.ensemble.model`).
"""
