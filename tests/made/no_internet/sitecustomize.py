"""For children alone (PYTHONPATH): a folder (ICH_TEST_SITE) stands for every address, by the name that the address ends in."""

from __future__ import annotations

import email.message
import os
import sys
import urllib.error
import urllib.request
import urllib.response
from pathlib import Path


class _Folder(urllib.request.HTTPSHandler):
    def https_open(self, request: urllib.request.Request) -> urllib.response.addinfourl:  # type: ignore[override]
        file = Path(os.environ["ICH_TEST_SITE"], request.full_url.rsplit("/", 1)[-1])
        if not file.is_file():
            raise urllib.error.URLError("no way there")
        answer = urllib.response.addinfourl(file.open("rb"), email.message.Message(), request.full_url, 200)
        answer.msg = "OK"  # type: ignore[attr-defined]
        return answer


if any("ich_pipeline.workers.child" in argument for argument in sys.orig_argv):
    urllib.request.install_opener(urllib.request.build_opener(_Folder))
