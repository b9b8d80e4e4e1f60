extern void log(in string message);
