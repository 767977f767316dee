"""The JSON Schema of report.json, made from `Report`.

Write it anew: python -m tune.reporting.report_schema > tune/reporting/report.schema.json
"""

import json

from tune.experiment.report_json import Report


def schema() -> dict[str, object]:
    """Return the schema of what is written; keys that may be absent in older reports are required here, too."""
    made = Report.model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made}


if __name__ == "__main__":
    print(json.dumps(schema(), indent=1))
