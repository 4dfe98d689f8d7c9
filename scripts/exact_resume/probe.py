"""Print, as JSON, where the transformers of the interpreter that runs this script is; it may be an older one.

It prints null where transformers is not installed, else:
    package: the folder of the package, which is found but not imported.
    site: the folder that holds the metadata.
    record: the file that lists what was installed; null without one.
"""

import importlib.metadata
import importlib.util
import json
import os


def probe():
    """Return what is printed."""
    spec = importlib.util.find_spec("transformers")
    if spec is None or spec.origin is None:
        return None
    package = os.path.dirname(spec.origin)
    try:
        distribution = importlib.metadata.distribution("transformers")
    except importlib.metadata.PackageNotFoundError:
        return {"package": package, "site": os.path.dirname(package), "record": None}
    records = [file for file in distribution.files or () if str(file).endswith(".dist-info/RECORD")]
    return {
        "package": package,
        "site": str(distribution.locate_file("")),
        "record": str(distribution.locate_file(records[0])) if records else None,
    }


if __name__ == "__main__":
    print(json.dumps(probe()))
