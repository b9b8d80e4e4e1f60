#include <core.p4>
control C(inout bit<8> a) {
    table t {
        key = { a : exact; }
        actions = { NoAction; }
        default_action = NoAction();
        const entries = { 1 &&& 3 : NoAction(); }
    }
    apply { t.apply(); }
}
