const bit<8> a = 1;
#ifdef A
const bit<8> b = 1;
