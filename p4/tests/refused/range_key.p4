match_kind { range }
