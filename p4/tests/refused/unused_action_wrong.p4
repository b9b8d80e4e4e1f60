/* Nobody calls it. */
action wrong(inout bit<8> a) { a = 8w1 + 16w1; }
