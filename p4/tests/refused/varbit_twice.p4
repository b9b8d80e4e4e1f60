header options_t { varbit<320> first; varbit<320> second; }
