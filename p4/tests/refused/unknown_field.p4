struct key_t { bit<32> source; bit<32> destination; }
control C(inout key_t key) {
    apply { key.destinaton = 1; }
}
