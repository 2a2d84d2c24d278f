/*
 * Well-known functions with a text among their arguments: the second, the third, or the
 * second with its length behind it. Who includes this says what each is.
 */
COUNTED(sqlite3_prepare)
COUNTED(sqlite3_prepare_v2)
COUNTED(sqlite3_prepare_v3)
SECOND(sqlite3_exec)
SECOND(sqlite3_get_table)
SECOND(PQexec)
SECOND(PQexecParams)
SECOND(PQexecPrepared)
THIRD(PQprepare)
SECOND(PQsendQuery)
SECOND(PQsendQueryParams)
SECOND(PQsendQueryPrepared)
THIRD(PQsendPrepare)
SECOND(mysql_query)
COUNTED(mysql_real_query)
COUNTED(mysql_send_query)
COUNTED(mysql_stmt_prepare)
COUNTED(SQLExecDirect)
COUNTED(SQLPrepare)
