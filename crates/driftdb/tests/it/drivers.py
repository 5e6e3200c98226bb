"""Python's two drivers against a server, each as a program would use it. Arguments: port, password."""

import asyncio
import datetime
import decimal
import sys
import uuid

import asyncpg
import psycopg

WHERE = {"host": "127.0.0.1", "port": int(sys.argv[1]), "user": "driftdb", "password": sys.argv[2]}
ROW = (
    1,
    decimal.Decimal("12345678901234567890.50"),
    datetime.date(2020, 2, 29),
    datetime.datetime(2020, 1, 2, 3, 4, 5, 678901, tzinfo=datetime.timezone.utc),
    datetime.timedelta(days=3, seconds=5),
    uuid.UUID("00112233-4455-6677-8899-aabbccddeeff"),
    b"\x00\xff",
    1.5,
    True,
    "ünïcode 'quoted'",
)
COLUMNS = "id, n, d, ts, i, u, b, f, yes, t"


def fails(state, step):
    try:
        step()
    except psycopg.Error as error:
        assert error.sqlstate == state, (state, error.sqlstate, error)
        return
    raise AssertionError(f"no error {state}")


def with_psycopg():
    with psycopg.connect(**WHERE, dbname="driftdb") as connection:
        cursor = connection.cursor()
        cursor.execute(
            """CREATE TABLE every (id int PRIMARY KEY, n numeric, d date, ts timestamptz, i interval, u uuid, b bytea,
               f float8, yes boolean, t text)"""
        )
        marks = ", ".join(["%s"] * len(ROW))
        cursor.execute(f"INSERT INTO every ({COLUMNS}) VALUES ({marks})", ROW)
        for binary in (False, True):
            got = connection.execute(f"SELECT {COLUMNS} FROM every WHERE id = %s", (1,), binary=binary).fetchone()
            assert got == ROW, (binary, got)
        cursor.executemany("INSERT INTO every (id, t) VALUES (%s, %s)", [(id, f"v{id}") for id in range(2, 102)])
        connection.commit()
        with connection.pipeline():
            one, two = connection.execute("SELECT 1"), connection.execute("SELECT %s::int", (2,))
            assert (one.fetchone(), two.fetchone()) == ((1,), (2,))
        with cursor.copy("COPY every (id, t) FROM STDIN") as copy:
            for id in range(102, 202):
                copy.write_row((id, "copied\twith\ntabs"))
        with cursor.copy("COPY (SELECT id, t FROM every WHERE id > 200) TO STDOUT") as copy:
            assert list(copy.rows()) == [("201", "copied\twith\ntabs")]
        connection.rollback()
        assert cursor.execute("SELECT count(*) FROM every").fetchone() == (101,)
        fails("23505", lambda: cursor.execute("INSERT INTO every (id) VALUES (1)"))
        fails("25P02", lambda: cursor.execute("SELECT 1"))
        connection.rollback()
        then = cursor.execute("SELECT max(seq) FROM driftdb.commits").fetchone()[0]
        cursor.execute("DELETE FROM every WHERE id > 50")
        connection.commit()
        past = cursor.execute("SELECT count(*) FROM every FOR SYSTEM_TIME AS OF %s", (then,)).fetchone()
        assert past == (101,), past
        assert cursor.execute("SELECT count(*) FROM every").fetchone() == (50,)
        fails("25001", lambda: cursor.execute("ERASE FROM every WHERE t = %s", ("v60",)))
        connection.rollback()
        connection.autocommit = True
        # Deleted already: it is the past that has it.
        cursor.execute("ERASE FROM every WHERE t = %s OR id = %s", ("v60", 61))
        assert cursor.statusmessage == "ERASE 2", cursor.statusmessage
        past = cursor.execute("SELECT count(*) FROM every FOR SYSTEM_TIME AS OF %s", (then,)).fetchone()
        assert past == (99,), past


async def with_asyncpg():
    connection = await asyncpg.connect(**WHERE, database="driftdb", timeout=20, command_timeout=20)
    got = tuple(await connection.fetchrow(f"SELECT {COLUMNS} FROM every WHERE id = $1", 1))
    assert got == ROW, got
    for query, error in [("SELECT nosuch", asyncpg.UndefinedColumnError), ("SELECT 1/0", asyncpg.DivisionByZeroError)]:
        try:
            await connection.fetch(query)
            raise AssertionError(f"{query} is no error")
        except error:
            pass
    async with connection.transaction():
        rows = [row["id"] async for row in connection.cursor("SELECT id FROM every ORDER BY id", prefetch=7)]
        assert rows == list(range(1, 51)), rows
    await connection.executemany("INSERT INTO every (id, n) VALUES ($1, $2)", [(id, decimal.Decimal(id) / 8) for id in range(300, 310)])
    assert await connection.fetchval("SELECT sum(n) FROM every WHERE id >= 300") == decimal.Decimal("380.625")
    assert await connection.fetchval("SELECT pg_backend_pid()") == connection.get_server_pid()
    await connection.close()
    # A pool resets each connection before another takes it.
    async with asyncpg.create_pool(**WHERE, database="driftdb", min_size=1, max_size=1, timeout=20) as pool:
        for _ in range(3):
            async with pool.acquire() as pooled:
                await pooled.execute("SET search_path = public")
                assert await pooled.fetchval("SELECT $1::int + 1", 41) == 42


with_psycopg()
asyncio.run(with_asyncpg())
print("both drivers work")
