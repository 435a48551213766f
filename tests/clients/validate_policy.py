"""Validates policies against a JSON Schema, as an editor does that knows nothing else.

Usage: validate_policy.py SCHEMA POLICY...

The last line is a JSON object: for each policy the places and messages of what is wrong with it.
"""

import json
import sys

import yaml
from jsonschema import Draft202012Validator


class Loader(yaml.SafeLoader):
    """YAML 1.2 has no dates: what looks like one is a string, as the policy reads it."""


Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def flaws(validator, path):
    with open(path, encoding="utf-8") as file:
        policy = yaml.load(file, Loader=Loader)
    errors = sorted(validator.iter_errors(policy), key=lambda error: error.json_path)
    return [f"{error.json_path}: {error.message}" for error in errors]


def main():
    schema_path, *policies = sys.argv[1:]
    with open(schema_path, encoding="utf-8") as file:
        schema = json.load(file)
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    print(json.dumps({path: flaws(validator, path) for path in policies}))


if __name__ == "__main__":
    main()
