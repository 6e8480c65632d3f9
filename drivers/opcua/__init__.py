"""OPC UA servers, by subscription."""
