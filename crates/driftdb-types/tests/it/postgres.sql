-- What PostgreSQL says: writes postgres.tsv, which the tests compare with. Run on PostgreSQL 15 or later as
--     psql -Xq -f postgres.sql > postgres.tsv
-- A line is: what was asked, its arguments, the answer ("!" and the SQLSTATE if it is an error), between tabs.
\set QUIET on
\pset format unaligned
\pset tuples_only on
\pset fieldsep '\t'
set timezone = 'Europe/Berlin';
set client_min_messages = error;

create function pg_temp.try(expression text) returns text language plpgsql as $$
declare answer text;
begin
    execute 'select ' || expression into answer;
    return coalesce(answer, 'NULL');
exception when others then
    return '!' || sqlstate;
end $$;

-- Input and output of every type.
create temp table texts(ty text, input text);
insert into texts select 'boolean', unnest(array['t', 'tr', 'true', 'TRUE', ' yes ', 'y', 'on', '1', 'f', 'fal', 'no', 'n', 'off', 'of', '0', 'o', '', '2', 'truee', 'yess', '01']);
insert into texts select ty, unnest(array['0', '-0', '+7', ' 42 ', '-32768', '32767', '32768', '2147483647', '-2147483648', '2147483648', '9223372036854775807', '-9223372036854775808', '9223372036854775808', '', ' ', '1.5', '1e3', 'x', '- 1', '--1', '12 3'])
    from unnest(array['smallint', 'integer', 'bigint']) ty;
insert into texts select ty, unnest(array['0', '-0', '1', '-1.5', '.5', '5.', '1e15', '1e14', '123456789012345680', '1e-4', '1e-5', '0.00012345', '1.5e300', '1e22', '9007199254740993', '1e6', '123456', '1234567', '0.1', '3.4028235e38', '3.5e38', '1e-45', '1e-46', '1.7976931348623157e308', '1e309', '-1e309', '5e-324', '1e-324', 'inf', '-Infinity', 'nan', 'NaN', '+inf', ' 12 ', '1e', 'e5', '.', '', '1 2', '100000', '999999', '16777217', '-123.456e-3'])
    from unnest(array['real', 'double precision']) ty;
insert into texts select ty, unnest(array['0', '-0', '-0.00', '1.50e1', '.5', '-.5', '5.', '1e2', '1e-3', '123.456', '999.994', '999.995', '-999.995', '0.005', '-0.005', '0.004999', '99999999999999999999999999999999999999', '1e5', '  1.0  ', '+1', '', '.', '1e', '1.2.3', '1e+2', '12e-1', '0000123.4500', 'abc', '1 000', '0.99', '9.5', '0.00000000000000000000000000000000000001'])
    from unnest(array['numeric', 'numeric(5,2)', 'numeric(3,0)', 'numeric(2,2)', 'numeric(38,10)']) ty;
insert into texts select 'text', unnest(array['', 'abc', '  blanks  ', 'Grüße 😀']);
insert into texts select 'character(4)', unnest(array['', 'ab', 'ab  ', 'abcd', 'äöü', 'abcd   ']);
insert into texts select 'bytea', unnest(array['', '\x', '\x00FF', '\x 12 34', '\x1g', '\x123', 'abc', 'a\\b\001\377', '\8', '\', '\4', '\400', '\12', 'ä']);
insert into texts select ty, unnest(array[
    '2026-11-01', '2026-11-1', '20261101', '991231', '300102', 'Nov 1 2026', '1 Nov 2026', 'November 1, 2026', '11/01/2026', '11/01/26', '12/31/69', '12/31/70', '11-01-2026', '1.5.2026', '2026/11/01', '2026-Nov-01', '01-Nov-2026', '2026.305', '2026-305', '2026-366', '2024-366', '2026-02-29', '2024-02-29', '2000-02-29', '1900-02-29', '2026-13-01', '2026-00-10', '2026-01-00', '2026-04-31', '26-11-01', '44-03-15 BC', '0044-03-15 BC', '0001-01-01 BC', '0001-01-01 AD', '0000-01-01', '12345-01-01', '99999-07-01 12:00',
    '2026-11-01 10:00', '2026-11-01 10:00:00', '2026-11-01T10:00:00', '2026-11-01t10:00:00.5', '2026-11-01 10:00:00.123456', '2026-11-01 10:00:00.1234565', '2026-11-01 23:59:59.9999999', '2026-11-01 24:00:00', '2026-11-01 24:00:01', '2026-11-01 10:00:60', '2026-11-01 10:00:61', '2026-11-01 10:60', '2026-11-01 25:00', '2026-11-1 9:5', '2026-11-01 1000', '2026-11-01 100000', '20261101T100000Z', '20261101T1000', '20261101T100000.5+02', '20261101 100000',
    '2026-11-01 10:00 PM', '2026-11-01 12:00 AM', '2026-11-01 12:00 PM', '2026-11-01 00:00 PM', '2026-11-01 13:00 PM', '2026-11-01 10:00:00 am',
    '2026-11-01T10:00:00Z', '2026-11-01 10:00:00z', '2026-11-01 10:00:00 z', '2026-11-01 10:00:00+00', '2026-11-01 10:00:00+02', '2026-11-01 10:00:00-5', '2026-11-01 10:00+0530', '2026-11-01 10:00 +05:30', '2026-11-01 10:00+05:30:15', '2026-11-01 10:00-16', '2026-11-01 10:00+15:59', '2026-11-01+02', '2026-11-01 10:00 UTC', '2026-11-01 10:00 PST', '2026-11-01 10:00 CEST', '2026-07-01 10:00 CET', '2026-11-01 10:00 Europe/Berlin', '2026-07-01 10:00 america/new_york', '2026-11-01 10:00 UTC+3', '2026-11-01 10:00 EST5EDT', '2026-11-01 10:00 foo', '2026-11-01 10:00 Foo/Bar', '2026-11-01 10:00 +02 CET',
    '2026-03-29 02:30', '2026-10-25 02:30', '2026-10-25 02:30+02', '2026-03-29 01:59:59.999999', '1850-01-01', '1893-04-01 00:00',
    'epoch', 'infinity', '-infinity', 'Infinity', '  2026-11-01  ', ', 2026-11-01', 'Sun Nov 01 10:00:00 2026', 'Sun Nov 01 10:00:00 2026 CET', '2026-11-01 mon', '2026-11-01 allballs', 'banana', '', '2026-11', '2026-11-01x', '2026-11-01 10', '2026-11-01T10', 'oct 5', '2026-11-01--', '2026-11-01 10:00:00-', '2026-11-01 10:00:00.123.4', '99999999', '2026-11-01 2026-11-02', '2026-11-01 10:00 11:00', 'Nov Nov 2026', '5874897-12-31', '5874898-01-01', '4714-11-24 BC', '4714-11-23 BC', '294246-12-31 23:59:59.999999+00'])
    from unnest(array['date', 'timestamp', 'timestamp with time zone']) ty;
insert into texts select 'time', unnest(array['10:00', '10:00:00', '1:2:3', '10:00:00.5', '10:00:00.123456', '10:00:00.9999999', '23:59:60', '24:00:00', '24:00:01', '25:00', '10:60', '1000', '100000', 'T10:00', '10:00 PM', '12:00 AM', '0:00 AM', '13:00 PM', '13:00 AM', '10:00+02', '10:00 UTC', '10:00 CET', '10:00 Europe/Berlin', '2026-11-01 10:00', '2026-11-01 10:00 Europe/Berlin', '2026-11-01', 'allballs', '10', '', 'x', 'epoch', 'infinity']);
insert into texts select 'interval', unnest(array['1 day 02:03:04', '5 minutes', '1 year 2 mons', 'P1DT2H', 'P1Y2M3DT4H5M6.7S', 'PT-5M', '-P1D', 'P0001-02-03T04:05:06', '1-2', '1-2 3 4:05:06', '3', '1h30m', '1.5 months', '0.5 year', '1.5 days', '2w', '1 decade', '1 century 2 millennium', '100 ms', '5 us', '@ 1 minute', '1 day ago', '1 day -2:03', '-1:30', '1:30', '1:30.5', '1 2:03:04', 'abc', '', '1 fortnight', '1.5 weeks', '0.7 months', '1 mon -1 day', '-1 year -2 mons +3 days', '1 day 1 day', '+1 day', '1.2345678 seconds', 'P1W', '999999999999 years', '25:61:00', '100:00:00', '-0.5 day', '1 yr 2 mon 3 d 4 hr 5 min 6 sec', '6.5 years', 'P1.5D', '1 month 1.5 day 0.5 hour', 'P1Y-2M', '1day', '10 secs ago', '1.1 months', '-1.1 years', '2 days 3', '1 hour 1:00', 'PT36H', 'P', 'PT', '-1-2', '1 days -00:00:01', '1 day   - 1 hour', '0', '00:00', '1 year 1 mon 1 day 1:00 ago', '-1 day +1:00', '178000000 years', '1:2:3.456789', '12:00:60', '1 microsecond', '2147483647 days', '2147483648 days', '13 months', '-13 months', '1 month ago 2 days', 'ago', '1 foo', '4 weeks 1 day', '1-13']);
insert into texts select 'uuid', unnest(array['a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'A0EEBC999C0B4EF8BB6D6BB9BD380A11', '{a0eebc99-9c0b4ef8-bb6d6bb9bd380a11}', 'a0ee-bc99-9c0b-4ef8-bb6d-6bb9-bd38-0a11', 'a0e-ebc99-9c0b-4ef8-bb6d-6bb9-bd38-0a11', '{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a111', 'g0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '']);
insert into texts select ty, unnest(array['{"b":1,"a":[1,2,{"x":null}],"aa":"\u00e9\n\u0001\/","b":2}', '1e2', '-0', '-0.0', '1.00', '1E-3', ' [ ] ', ' { } ', '"\ud83d\ude00"', '12.50e1', '0.000e-3', '-12.5e-4', '123e-1', '5e0', '"\u0000"', '"\ud83d"', '"\ude00"', '"\ud83dx"', '01', '-', '1.', '.5', '1e', '+1', '{"a":}', '{"a"}', '{"a":1,}', '[1,]', '[1 2]', '{a:1}', 'nul', 'true', 'false ', 'null', '', '"abc', '"a\x"', '"\u12"', '"\u12g4"', '1 2', 'True', '1e200000', '[[[[]]]]', '{"":0," ":1}', '{"é":1,"zz":2,"z":3}', '1.5e2x', '"\"\\\b\f\r\t"', '1.10e1'])
    from unnest(array['json', 'jsonb']) ty;
select 'text', ty, input, pg_temp.try(format('format(''%%s'', %L::%s)', input, ty)) from texts;

-- Arithmetic.
create temp table numbers(n numeric);
insert into numbers values (0), (1), (-1), (2), (3), (7), (0.1), (-0.5), (2.50), (0.0001), (9999), (10000), (10001), (99999999), (0.00001234), (12345678901234567890), (-98765432109876.54321), (1e10), (1e-10), (100.00), (33.333333);
select 'number', operator, a.n || ' ' || b.n, pg_temp.try(format('(%L::numeric %s %L::numeric)::text', a.n, operator, b.n))
    from numbers a, numbers b, unnest(array['+', '-', '*', '/', '%']) operator;

-- Casts.
create temp table casts(source text, input text, target text);
insert into casts select s, i, t from unnest(array['double precision', 'real']) s,
    unnest(array['0.5', '1.5', '2.5', '-2.5', '1e10', '1e20', '32767.4', '32767.5', '0.1', '123456.789', '1e-10', '1.10', '1234567890123456789', 'inf', 'nan', '1e30']) i,
    unnest(array['smallint', 'integer', 'bigint', 'real', 'double precision', 'numeric(38,12)', 'text', 'boolean', 'date']) t;
insert into casts select 'numeric', i, t from unnest(array['0.5', '1.5', '2.5', '-2.5', '32767.5', '99999', '1e20', '0.1', '123.456']) i,
    unnest(array['smallint', 'integer', 'bigint', 'real', 'double precision', 'numeric(5,1)', 'text', 'varchar(3)', 'boolean', 'interval']) t;
insert into casts select s, i, t from unnest(array['smallint', 'integer', 'bigint']) s, unnest(array['0', '7', '-32768']) i,
    unnest(array['smallint', 'integer', 'bigint', 'real', 'double precision', 'numeric', 'numeric(3,1)', 'text', 'varchar(2)', 'character(3)', 'boolean', 'date', 'bytea', 'jsonb', 'uuid']) t;
insert into casts select 'boolean', i, t from unnest(array['t', 'f']) i, unnest(array['smallint', 'integer', 'bigint', 'text', 'numeric', 'date', 'varchar(2)']) t;
insert into casts select 'text', i, t from unnest(array['12', '1.5', 'abcdef', 't', '2026-11-01', '{"a":1}', '10:00', '1 day', '\x00']) i,
    unnest(array['smallint', 'integer', 'bigint', 'real', 'double precision', 'numeric', 'numeric(3,1)', 'boolean', 'varchar(2)', 'character(3)', 'date', 'time', 'timestamp', 'timestamp with time zone', 'interval', 'uuid', 'json', 'jsonb', 'bytea']) t;
insert into casts select s, i, t from unnest(array['date', 'timestamp', 'timestamp with time zone']) s, unnest(array['2026-11-01', '2026-03-29 02:30', '2026-11-01 23:30+00', '0044-03-15 BC', 'infinity', '-infinity', '294246-01-01']) i,
    unnest(array['date', 'time', 'timestamp', 'timestamp with time zone', 'interval', 'text', 'integer', 'bigint']) t;
insert into casts values ('date', '5874897-01-01', 'timestamp'), ('date', '5874897-01-01', 'timestamp with time zone');
insert into casts select 'time', '10:00:00.5', unnest(array['interval', 'text', 'timestamp', 'date', 'time']);
insert into casts select 'interval', i, t from unnest(array['25:00', '-1 hour', '3 days 04:05:06.7']) i, unnest(array['time', 'text', 'date', 'interval', 'bigint']) t;
insert into casts select s, i, t from unnest(array['json', 'jsonb']) s, unnest(array['5', '5.7', '"5"', 'null', 'true', '[1]', '{"b": 1, "a":2}']) i,
    unnest(array['json', 'jsonb', 'smallint', 'integer', 'bigint', 'real', 'double precision', 'numeric', 'boolean', 'text']) t;
insert into casts select 'bytea', '\x6162', unnest(array['text', 'bytea', 'integer', 'json']);
insert into casts select 'uuid', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', unnest(array['text', 'uuid', 'bytea', 'varchar(8)']);
select distinct 'cast', source || '>' || target, input, pg_temp.try(format('format(''%%s'', (%L::%s)::%s)', input, source, target)) from casts
    where pg_temp.try(format('%L::%s', input, source)) not like '!%';
create function pg_temp.assign(source text, target text, input text) returns text language plpgsql as $$
declare answer text;
begin
    execute format('create temp table target(v %s)', target);
    execute format('insert into target values (%L::%s) returning format(''%%s'', v)', input, source) into answer;
    drop table target;
    return answer;
exception when others then
    return '!' || sqlstate;
end $$;
select distinct 'assign', source || '>' || target, input, pg_temp.assign(source, target, input) from casts
    where pg_temp.try(format('%L::%s', input, source)) not like '!%' and pg_temp.try(format('%L::%s', input, source)) <> 'NULL';

-- Binary formats.
create temp table binaries(ty text, send text, input text);
insert into binaries select 'boolean', 'boolsend', unnest(array['t', 'f']);
insert into binaries values ('smallint', 'int2send', '-2'), ('integer', 'int4send', '-70000'), ('bigint', 'int8send', '1234567890123'), ('real', 'float4send', '1.5'), ('double precision', 'float8send', '-0.1'), ('text', 'textsend', 'äb'), ('character(4)', 'bpcharsend', 'ab'), ('bytea', 'byteasend', '\x00ff'), ('uuid', 'uuid_send', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'), ('json', 'json_send', ' [1]'), ('jsonb', 'jsonb_send', ' [1]'), ('time', 'time_send', '10:00:00.5'), ('interval', 'interval_send', '1 year -3 days 04:05:06.7');
insert into binaries select 'numeric', 'numeric_send', unnest(array['0', '0.00', '1', '-1', '10000', '123456789', '0.1', '0.0001', '0.00001', '12345.6789', '1.50', '-98765432109876.54321', '100000000', '0.00000000000000000000000000000000000001', '99999999999999999999999999999999999999', '10000.0001', '0.1000']);
insert into binaries select 'date', 'date_send', unnest(array['2026-11-01', '1999-12-31', 'infinity', '-infinity', '4714-11-24 BC']);
insert into binaries select 'timestamp', 'timestamp_send', unnest(array['2026-11-01 10:00:00.5', '1999-12-31', 'infinity', '-infinity', '4714-11-24 BC']);
insert into binaries select 'timestamp with time zone', 'timestamptz_send', unnest(array['2026-11-01 10:00:00.5', '1999-12-31', 'infinity', '-infinity']);
select 'binary', ty, input, pg_temp.try(format('%s(%L::%s)', send, input, ty)) from binaries;

-- Order.
select 'order', 'double precision', '', string_agg(v::text, ' ' order by v) from unnest(array['nan', '-inf', 'inf', '0', '1', '-1', '1e300', '-1e-300']::float8[]) v;
select 'order', 'numeric', '', string_agg(v::text, ' ' order by v) from unnest(array[0, 1, -1, 10, 9.99, -9.99, 1e20, -1e20, 1e-20, 0.5, 0.49, 100, 99, 1e37]::numeric[]) v;
select 'order', 'text', '', string_agg(v, ' ' order by v collate "C") from unnest(array['a', 'B', 'ab', 'ä', 'Z', 'aa', '~']) v;
select 'order', 'interval', '', string_agg(replace(v::text, ' ', '_'), ' ' order by v) from unnest(array['1 mon', '29 days', '31 days', '-1 day', '00:00', '24:00:01', '1 year', '364 days', '1 day']::interval[]) v;
