#include <core.p4>
control C(inout bit<8> a) {
    table t {
        key = { a : exact; }
        actions = { NoAction; }
        default_action = NoAction();
        size = 1000;
    }
    apply { t.apply(); }
}
