//! The built-in functions of MySQL and MariaDB, by what calling them may do, and words that are no functions.
//!
//! From what MariaDB 10.11 lists of itself and what MySQL 9.7 has, one entry per name of either. A name that only
//! one of them has may be a user's function on the other: the catalog knows. `READ_ONLY` holds what changes
//! nothing and answers alike on every server; `PRIMARY_ONLY` sequences, locks, files, what is asked of
//! replication, and what tells of the statement before. Functions that only `sql_mode=ORACLE` has are left out.

/// Built-in functions that may run on a replica.
#[rustfmt::skip]
pub(super) static READ_ONLY: [&str; 437] = [
    "abs", "acos", "add_months", "adddate", "addtime", "aes_decrypt", "aes_encrypt", "any_value", "ascii",
    "asin", "atan", "atan2", "avg", "benchmark", "bin", "bin_to_uuid", "binary", "bit_and", "bit_count",
    "bit_length", "bit_or", "bit_xor", "can_access_column", "can_access_database", "can_access_table",
    "can_access_user", "can_access_view", "cast", "ceil", "ceiling", "char", "char_length",
    "character_length", "charset", "chr", "coalesce", "coercibility", "collation", "column_add",
    "column_create", "column_delete", "column_get", "compress", "concat", "concat_ws", "connection_id",
    "conv", "convert", "convert_tz", "cos", "cot", "count", "crc32", "crc32c", "cume_dist", "curdate",
    "current_date", "current_role", "current_time", "current_timestamp", "current_user", "curtime",
    "database", "date", "date_add", "date_format", "date_sub", "datediff", "day", "dayname", "dayofmonth",
    "dayofweek", "dayofyear", "decode", "decode_histogram", "default", "degrees", "dense_rank",
    "des_decrypt", "des_encrypt", "elt", "encode", "encrypt", "exp", "export_set", "extract",
    "extractvalue", "field", "find_in_set", "first_value", "floor", "format", "format_bytes",
    "format_pico_time", "from_base64", "from_days", "from_unixtime", "from_vector", "geometrycollection",
    "get_format", "greatest", "group_concat", "grouping", "gtid_subset", "gtid_subtract", "hex", "hour",
    "icu_version", "if", "ifnull", "inet6_aton", "inet6_ntoa", "inet_aton", "inet_ntoa", "insert", "instr",
    "interval", "is_ipv4", "is_ipv4_compat", "is_ipv4_mapped", "is_ipv6", "is_uuid", "isnull", "json_array",
    "json_array_append", "json_array_insert", "json_array_intersect", "json_arrayagg", "json_compact",
    "json_contains", "json_contains_path", "json_depth", "json_detailed", "json_equals", "json_exists",
    "json_extract", "json_insert", "json_key_value", "json_keys", "json_length", "json_loose", "json_merge",
    "json_merge_patch", "json_merge_preserve", "json_normalize", "json_object", "json_object_filter_keys",
    "json_object_to_array", "json_objectagg", "json_overlaps", "json_pretty", "json_query", "json_quote",
    "json_remove", "json_replace", "json_schema_valid", "json_schema_validation_report", "json_search",
    "json_set", "json_storage_free", "json_storage_size", "json_table", "json_type", "json_unquote",
    "json_valid", "json_value", "kdf", "lag", "last_day", "last_value", "lcase", "lead", "least", "left",
    "length", "lengthb", "linestring", "ln", "localtime", "localtimestamp", "locate", "log", "log10",
    "log2", "lower", "lpad", "ltrim", "make_set", "makedate", "maketime", "match", "max", "mbrcontains",
    "mbrcoveredby", "mbrcovers", "mbrdisjoint", "mbrequal", "mbrequals", "mbrintersects", "mbroverlaps",
    "mbrtouches", "mbrwithin", "md5", "median", "microsecond", "mid", "min", "minute", "mod", "month",
    "monthname", "multilinestring", "multipoint", "multipolygon", "name_const", "natural_sort_key", "now",
    "nth_value", "ntile", "nullif", "nvl", "nvl2", "oct", "octet_length", "old_password", "ord", "password",
    "percent_rank", "percentile_cont", "percentile_disc", "period_add", "period_diff", "pi", "point",
    "polygon", "position", "pow", "power", "quarter", "quote", "radians", "rand", "random_bytes", "rank",
    "regexp_instr", "regexp_like", "regexp_replace", "regexp_substr", "repeat", "replace", "reverse",
    "right", "roles_graphml", "round", "row_number", "rownum", "rpad", "rtrim", "schema", "schemas",
    "sec_to_time", "second", "session_user", "sformat", "sha", "sha1", "sha2", "sign", "sin", "sleep",
    "soundex", "space", "sqrt", "st_area", "st_asbinary", "st_asgeojson", "st_astext", "st_aswkb",
    "st_aswkt", "st_boundary", "st_buffer", "st_buffer_strategy", "st_centroid", "st_collect",
    "st_contains", "st_convexhull", "st_crosses", "st_difference", "st_dimension", "st_disjoint",
    "st_distance", "st_distance_sphere", "st_endpoint", "st_envelope", "st_equals", "st_exteriorring",
    "st_frechetdistance", "st_geohash", "st_geomcollfromtext", "st_geomcollfromtxt", "st_geomcollfromwkb",
    "st_geometrycollectionfromtext", "st_geometrycollectionfromwkb", "st_geometryfromtext",
    "st_geometryfromwkb", "st_geometryn", "st_geometrytype", "st_geomfromgeojson", "st_geomfromtext",
    "st_geomfromwkb", "st_hausdorffdistance", "st_interiorringn", "st_intersection", "st_intersects",
    "st_isclosed", "st_isempty", "st_isring", "st_issimple", "st_isvalid", "st_latfromgeohash",
    "st_latitude", "st_length", "st_linefromtext", "st_linefromwkb", "st_lineinterpolatepoint",
    "st_lineinterpolatepoints", "st_linestringfromtext", "st_linestringfromwkb", "st_longfromgeohash",
    "st_longitude", "st_makeenvelope", "st_mlinefromtext", "st_mlinefromwkb", "st_mpointfromtext",
    "st_mpointfromwkb", "st_mpolyfromtext", "st_mpolyfromwkb", "st_multilinestringfromtext",
    "st_multipointfromtext", "st_multipolygonfromtext", "st_numgeometries", "st_numinteriorring",
    "st_numinteriorrings", "st_numpoints", "st_overlaps", "st_pointatdistance", "st_pointfromgeohash",
    "st_pointfromtext", "st_pointfromwkb", "st_pointn", "st_pointonsurface", "st_polyfromtext",
    "st_polyfromwkb", "st_polygonfromtext", "st_polygonfromwkb", "st_relate", "st_simplify", "st_srid",
    "st_startpoint", "st_swapxy", "st_symdifference", "st_touches", "st_transform", "st_union",
    "st_validate", "st_within", "st_x", "st_y", "statement_digest", "statement_digest_text", "std",
    "stddev", "stddev_pop", "stddev_samp", "str_to_date", "strcmp", "string_to_vector", "subdate", "substr",
    "substring", "substring_index", "subtime", "sum", "sys_guid", "sysdate", "system_user", "tan", "time",
    "time_format", "time_to_sec", "timediff", "timestamp", "timestampadd", "timestampdiff", "to_base64",
    "to_char", "to_days", "to_number", "to_seconds", "to_vector", "trim", "trunc", "truncate", "ucase",
    "uncompress", "uncompressed_length", "unhex", "unix_timestamp", "updatexml", "upper", "user",
    "utc_date", "utc_time", "utc_timestamp", "uuid", "uuid_to_bin", "uuid_v4", "uuid_v7", "uuidv4",
    "values", "var_pop", "var_samp", "variance", "vec_distance", "vec_distance_cosine",
    "vec_distance_euclidean", "vec_fromtext", "vec_totext", "vector_dim", "vector_to_string", "version",
    "week", "weekday", "weekofyear", "weight_string", "year", "yearweek",
];

/// Built-in functions that belong on the primary.
#[rustfmt::skip]
pub(super) static PRIMARY_ONLY: [&str; 52] = [
    "analyse", "asynchronous_connection_failover_add_source",
    "asynchronous_connection_failover_delete_source", "audit_log_read", "audit_log_rotate",
    "binlog_gtid_pos", "found_rows", "gen_dictionary_drop", "gen_dictionary_load", "get_lock",
    "group_replication_set_as_primary", "group_replication_switch_to_multi_primary_mode",
    "group_replication_switch_to_single_primary_mode", "is_free_lock", "is_used_lock", "keyring_key_fetch",
    "keyring_key_generate", "keyring_key_remove", "keyring_key_store", "last_insert_id", "lastval",
    "load_file", "master_gtid_wait", "master_pos_wait", "mysql_query_attribute_string", "nextval",
    "ps_current_thread_id", "ps_thread_id", "release_all_locks", "release_lock", "row_count",
    "service_get_read_locks", "service_get_write_locks", "service_release_locks", "setval",
    "source_pos_wait", "spider_bg_direct_sql", "spider_copy_tables", "spider_direct_sql", "uuid_short",
    "version_tokens_delete", "version_tokens_edit", "version_tokens_lock_exclusive",
    "version_tokens_lock_shared", "version_tokens_set", "version_tokens_show", "version_tokens_unlock",
    "wait_for_executed_gtid_set", "wait_until_sql_thread_after_gtids", "wsrep_last_seen_gtid",
    "wsrep_last_written_gtid", "wsrep_sync_wait_upto_gtid",
];

/// Reserved words that may stand before a parenthesis: nobody can call a function by one without quotes.
#[rustfmt::skip]
pub(super) static RESERVED: [&str; 94] = [
    "all", "and", "as", "asc", "between", "bigint", "binary", "blob", "both", "by", "case", "char",
    "character", "check", "collate", "column", "constraint", "cross", "dec", "decimal", "desc", "distinct",
    "distinctrow", "div", "double", "else", "except", "exists", "float", "for", "force", "from", "fulltext",
    "group", "having", "ignore", "in", "index", "inner", "int", "integer", "intersect", "into", "is",
    "join", "key", "lateral", "leading", "like", "limit", "mediumint", "natural", "not", "null", "numeric",
    "on", "or", "order", "outer", "over", "partition", "precision", "primary", "real", "recursive",
    "references", "regexp", "rlike", "row", "select", "set", "smallint", "spatial", "sql_big_result",
    "sql_calc_found_rows", "sql_small_result", "straight_join", "table", "then", "tinyint", "to",
    "trailing", "union", "unique", "unsigned", "use", "using", "varbinary", "varchar", "varcharacter",
    "when", "where", "with", "xor",
];
