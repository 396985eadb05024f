
Ì
$
"
service.name
agent-under-test£

@mastra/otel-exporter‡	€¯žÄ^êWARN*k
iNo `storage` configured on Mastra â€” falling back to an in-memory store. In-memory storage is not durâ€¦Y€ó3Ä^ê