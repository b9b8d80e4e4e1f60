#include <core.p4>
control C(inout bit<8> a) {
    action clear() { a = 0; }
    table t {
        key = { a : exact; }
        actions = { NoAction; }
        default_action = clear();
    }
    apply { t.apply(); }
}
