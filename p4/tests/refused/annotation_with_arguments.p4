match_kind { exact }
control C(in bit<8> a) {
    action nothing() { }
    table t {
        key = { a : exact @where_matchable(1); }
        actions = { nothing; }
        default_action = nothing();
    }
    apply { t.apply(); }
}
