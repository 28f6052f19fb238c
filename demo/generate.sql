-- Generates an hour of requests to a language model, the same in each run. Number and lengths (log-normal, medians of
-- about 800 tokens in and 150 out) are those of a real conversation service.
SELECT setseed(0.2023);

INSERT INTO app.trace
SELECT timestamptz '2023-11-16 18:15:00+00' + at * interval '1 hour',
       least(14050, 2 + exp(6.6 + 1.0 * sqrt(-2 * ln(a)) * cos(2 * pi() * b)))::integer,
       least(1000, 7 + exp(5.0 + 0.85 * sqrt(-2 * ln(a)) * sin(2 * pi() * b)))::integer
FROM (SELECT random() AS at, 1 - random() AS a, random() AS b FROM generate_series(1, 20000)) AS dice;
