"""Pre-annotate a project as the environment says: PROJECT_ID, TASK_LIMIT (1; all), ….

The same as `prelabel run`, whose options it takes; unless told otherwise it predicts one task.
"""

import sys

from prelabel.cli import main

if __name__ == "__main__":
    sys.argv[1:1] = ["run", "--default-limit", "1"]
    main()
