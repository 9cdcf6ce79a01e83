#!/usr/bin/env python3
"""Attach the backend to a project in Label Studio: `prelabel connect` under its older name.

It takes the same options, among them --url --username --password --project-title --backend-url
--test-predict.
"""

import sys

from prelabel.cli import main

if __name__ == "__main__":
    sys.argv[1:1] = ["connect"]
    main()
