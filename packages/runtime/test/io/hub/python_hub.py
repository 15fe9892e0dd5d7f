"""What Python's huggingface_hub does in the Hub's cache; run by python-cache.test.ts with LORAKIT_PYTHON, against the local server.

usage: python_hub.py fetch REPO FILE...     hf_hub_download of each file
       python_hub.py snapshot REPO PATTERN...   snapshot_download
Prints the local paths as a JSON list. HF_ENDPOINT, HF_HUB_CACHE, HF_HUB_OFFLINE are set by the caller.
"""

import json
import sys

import huggingface_hub

what, repo, *names = sys.argv[1:]
if what == "fetch":
    paths = [huggingface_hub.hf_hub_download(repo, name) for name in names]
else:
    paths = [huggingface_hub.snapshot_download(repo, allow_patterns=names)]
print(json.dumps({"version": huggingface_hub.__version__, "paths": paths}))
