INSERT INTO message VALUES (1,1,0,1,0,1,4,NULL,NULL);
INSERT INTO message_content VALUES (1,2925724267,'queued','order.created','/',NULL,'2026-01-31T12:00:00Z','text/plain',NULL,X'626F6479');
INSERT INTO queue VALUES (1,1,0);
