#!/bin/sh
# Told of a night by a schedule's `notify`: a text to read, and its facts as GFJOBS_* variables.
# Here it is written to a file; `mail -s "gfjobs: $GFJOBS_SCHEDULE is $GFJOBS_STATE" ADDRESS` mails it.
{
  echo "$GFJOBS_DUE $GFJOBS_SCHEDULE $GFJOBS_STATE $GFJOBS_RUN"
  cat
} >> "${GFJOBS_TOLD:-told.txt}"
