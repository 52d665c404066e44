"""croissant.json: the export described for machines, in MLCommons' Croissant 1.1 with its words for responsible AI.

Written by hand, since it is one JSON document; `mlcroissant` reads and validates it in the tests. Its sentences are
those of the card, its fields the profiles' own columns, its numbers those of report.json.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from annotation.models import Project
from exports.carding import one_line
from exports.disclosing import Disclosure, all_licences
from exports.languages import languages_of
from exports.profiles import PROFILES
from exports.profiles.columns import Column
from exports.writing import WrittenFile, hash_files, write_json

CATALOG = "croissant.json"
# https://docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html, appendix "JSON-LD context".
CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    **{
        name: f"cr:{name}"
        for name in (
            "arrayShape", "citeAs", "column", "containedIn", "equivalentProperty", "extract", "field", "fileObject",
            "fileProperty", "fileSet", "format", "includes", "isArray", "isLiveDataset", "jsonPath", "key", "md5",
            "parentField", "path", "recordSet", "references", "regex", "repeated", "replace", "samplingRate",
            "separator", "source", "subField", "transform",
        )
    },
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "description": {"@container": "@language"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "name": {"@container": "@language"},
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
}  # fmt: skip
CONFORMS_TO = ["http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0"]
FORMATS = {
    ".parquet": "application/x-parquet",
    ".jsonl": "application/jsonlines",
    ".gz": "application/gzip",
    ".json": "application/json",
}
TYPES = {"string": "sc:Text", "int64": "cr:Int64", "double": "cr:Float64", "bool": "sc:Boolean"}
Node = dict[str, Any]


def write_catalog(
    folder: Path,
    project: Project,
    columns: Mapping[str, Sequence[Column]],
    files: Sequence[WrittenFile],
    disclosure: Disclosure,
) -> str:
    """Write croissant.json for the data files of an export; return its path below `folder`. One query."""
    write_json(folder / CATALOG, catalog_of(project, columns, files, disclosure))
    return CATALOG


def catalog_of(
    project: Project,
    columns: Mapping[str, Sequence[Column]],
    files: Sequence[WrittenFile],
    disclosure: Disclosure,
) -> Node:
    """Return the description: files with their SHA-256, a record set for each table, and what must be disclosed.

    The version's build part is the hash of the data files, since nothing else of a release is in the files themselves.
    """
    tables = {name: mine for name, mine in columns.items() if PROFILES[name].document_head is None}
    named = {
        "license": all_licences(disclosure.report["counts"]),
        "inLanguage": languages_of(project),
        **{f"rai:{name}": told for name, told in disclosure.fields().items()},
    }
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": CONFORMS_TO,
        "name": project.slug,
        "description": f"{one_line(project.title)}: {disclosure.summary}",
        "version": f"1.0.0+{hash_files(files)[:12]}",
        "citeAs": disclosure.citation(hash_files(files)),
        "keywords": ["preference", "dpo", "rlhf", "human-feedback", "ai-feedback"],
        **{name: told for name, told in named.items() if told},
        "distribution": [*map(_file, files), *(_file_set(name, files) for name in tables)],
        "recordSet": [_record_set(name, mine) for name, mine in tables.items()],
    }


def _file(file: WrittenFile) -> Node:
    return {
        "@type": "cr:FileObject",
        "@id": file.path,
        "name": file.path,
        "contentUrl": file.path,
        "contentSize": f"{file.bytes} B",
        "encodingFormat": FORMATS[Path(file.path).suffix],
        "sha256": file.sha256,
    }


def _set_id(profile: str) -> str:
    return f"{profile}-files"


def _file_set(profile: str, files: Sequence[WrittenFile]) -> Node:
    """Return the files of one profile: Parquet where it was written, since it keeps the types."""
    mine = [file.path for file in files if file.path.startswith(f"{profile}/")]
    ending = ".parquet" if any(path.endswith(".parquet") for path in mine) else ".jsonl"
    chosen = [path for path in mine if ending in path]
    return {
        "@type": "cr:FileSet",
        "@id": _set_id(profile),
        "name": _set_id(profile),
        "encodingFormat": FORMATS[ending],
        "includes": chosen,
    }


def _record_set(profile: str, columns: Sequence[Column]) -> Node:
    key = {"key": {"@id": f"{profile}/id"}} if any(column.name == "id" for column in columns) else {}
    return {
        "@type": "cr:RecordSet",
        "@id": profile,
        "name": profile,
        "description": f"Rows for {PROFILES[profile].title}.",
        **key,
        "field": [_split(profile), *(_field(profile, column) for column in columns)],
    }


def _split(profile: str) -> Node:
    """Return the field that says which split a row is of, by the name of its file."""
    return {
        "@type": "cr:Field",
        "@id": f"{profile}/split",
        "name": "split",
        "description": "The split: train or test.",
        "dataType": ["sc:Text", "cr:Split"],
        "source": {
            "fileSet": {"@id": _set_id(profile)},
            "extract": {"fileProperty": "fullpath"},
            "transform": {"regex": r".*\b(train|test)[-.].*"},
        },
    }


def _field(profile: str, column: Column) -> Node:
    return {
        **_value(profile, (column.name,), column.kind.arrow),
        "description": column.meaning,
    }


def _value(profile: str, path: tuple[str, ...], arrow: pa.DataType, within: tuple[str, ...] = ()) -> Node:
    """Return the field at a path below a column: arrays with their shape, objects with a sub-field for each part.

    `within` are the steps from the column's value to this one, a JSON path each; an array's step goes to all of it.
    """
    depth = 0
    while pa.types.is_list(arrow):
        arrow, depth = arrow.value_type, depth + 1
    array = {"isArray": True, "arrayShape": ",".join(["-1"] * depth)} if depth else {}
    node: Node = {"@type": "cr:Field", "@id": "/".join((profile, *path)), "name": path[-1], **array}
    if pa.types.is_struct(arrow):
        # A reader takes the steps below the first array for each of its values by itself.
        step = "[*]." if depth and within else ""
        parts = [_value(profile, (*path, part.name), part.type, (*within, f"{step}{part.name}")) for part in arrow]
        return {**node, "subField": parts}
    source: Node = {"fileSet": {"@id": _set_id(profile)}, "extract": {"column": path[0]}}
    if within:
        source["transform"] = [{"jsonPath": one} for one in within]
    return {**node, "dataType": TYPES[str(arrow)], "source": source}
