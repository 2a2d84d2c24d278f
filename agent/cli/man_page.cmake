# Puts the list of options, as COMMAND prints it, into the TEMPLATE of the man page.
execute_process(COMMAND ${COMMAND} options --man OUTPUT_VARIABLE SP_OPTION_LIST
  OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
set(SP_VERSION ${VERSION})
configure_file(${TEMPLATE} ${OUTPUT} @ONLY)
