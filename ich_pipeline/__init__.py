"""Small-data head-CT haemorrhage detection after Lee et al. 2019 (doi 10.1038/s41551-018-0324-9).

The science lives here as plain functions and frozen dataclasses; it imports neither Prefect nor DVC, and MLflow only
in :mod:`ich_pipeline.registry`.
"""

import logging
import os

# TensorFlow leaves its oneDNN kernels off on processors without AVX512_VNNI. On AVX2 they train ResNet-50 three times
# faster, and one setting everywhere keeps training, evaluation and serving to equal bits. TensorFlow reads both when it is
# imported, whichever module does that: so they are set here, before any.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# A case is read by several networks, and each is traced once: that is no mistake to warn of.
logging.getLogger("tensorflow").setLevel(logging.ERROR)
