-- Run once by the image of the primary: whom Splitpool's probes sign in as.
CREATE USER probe@'%' IDENTIFIED BY 'secret';
GRANT SLAVE MONITOR, SHOW VIEW, TRIGGER, EXECUTE ON *.* TO probe@'%';
GRANT SELECT ON mysql.proc TO probe@'%';
